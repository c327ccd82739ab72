"""The pile's side of the conformance kit: piles with full control of the wire, against any platform.

``bench``      what the kit needs of a platform beyond the wire
``sealing``    frames as they should be, and as they should not be
``enrolling``  requests to the enrolment server, good and bad
``wire``       MQTT connections with and without a certificate
``puppet``     a pile that says what it is told, and holds what it hears to the contract
``probes``     frames that show whether they were taken
``scene``      one case's piles and charges, and the stage cases are played on
``outside``    somebody else's platform, by commands of its operator
``records``    settlements and readings of charges that never were
``hearing``    every frame that comes down, opened and judged
``cases_*``    the cases, by subject; ``catalogue`` holds all of them, ``judging`` plays them
"""

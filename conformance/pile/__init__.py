"""The kit plays the platform against piles.

``platform``  desk, tap and broker connection     ``subject``      the pile of a case, and its first steps
``wire``      what was said, and what is said     ``bench``        what is done to a pile beyond the wire
``manners``   what is answered by itself          ``fresh_stage``  a new pile for each case
``desk``, ``tap``, ``mqtt_packets``, ``authority``  enrolment, connections, and who may connect
``cases``     the cases themselves
"""

"""The conformance kit: named cases that hold a pile or a platform to the protocol, each tied to its clause.

It knows the protocol and nothing else of this project, so that it can judge anybody's pile and anybody's platform.

``case``    how a case is declared     ``run``     many cases on many subjects, within limits
``clauses`` the sections they hold     ``report``  what came of them, as text, JSON and HTML
``pile``    the platform's part, played against a pile
"""

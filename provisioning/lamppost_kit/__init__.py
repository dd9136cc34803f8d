"""The installer's kit: image recipe, batch flashing, enrolment bundles, labels. Never installed on a gateway.

Empty until the first boot is built; nothing may import it but its own command.
"""

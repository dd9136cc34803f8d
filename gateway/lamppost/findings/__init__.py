"""What can be wrong in the field: id, evidence, ranked causes, next action. Data, read by CLI, docs and hub.

Empty so far: the errors' own codes and hints are what the tools show.
"""

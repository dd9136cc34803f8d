"""Signed configuration for gateways: rendered, signed by two approvers, served, watched and, if need be, halted.

Only `repository` and `roles` know TUF's metadata. Private keys of approvers and root are never in the hub's folder; the
one key that is, signs what is current and which roll-outs are halted, and can start nothing.
"""

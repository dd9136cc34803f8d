"""Signed configuration: verified → trial → confirmed or reverted. Nothing in it is ever executed.

`trust` alone decides what is genuine (TUF), `rollout` when it is this gateway's turn, `preflight` whether it can fit,
`transitions` and `generations` what runs next and what a power cut leaves, `health` whether a trial went well, `agent`
drives them. Opens no bus, knows no other stage: the daemon hands in what it must know of them (`Vitals`).
"""

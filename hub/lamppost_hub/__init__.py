"""The hub's side: receive, prove, store, forward.

Opens sealed batches, keeps the ledger, signs receipts and writes to sinks. From the gateway's package it may use
`envelope`, `ngsild.broker`, `findings`, `model` and `errors`, and nothing else: the hub does not know how readings
are measured.
"""

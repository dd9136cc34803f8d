/* Delivery of batches: gateway, broker, two receivers, ledger, sink; crashes, loss, duplication, re-ordering, and a
 * hub that is restored from an old backup.
 *
 * What it models, by name:
 *   Sender     gateway/lamppost/uplink/window.py (due, resend), sender.py (_publish)
 *   Listener   window.py (receipt), sender.py (_listen, _obey, _settle); the ring's cursor is `settled`
 *   Broker     whatever stands between: it may lose, repeat, re-order, and replay receipts that were once given
 *   Receiver   hub/lamppost_hub/receiver.py, intake.py, ledger.py (Ledger.accept inside one transaction)
 *   Forwarder  hub/lamppost_hub/forward.py, queue.py, and the sinks' rule to write each batch once
 *   Operator   restores ledger and bookmark from some earlier moment, once, with the hub stopped
 *
 * What it leaves out: contents and keys (a receipt that verifies is one for these bytes), PUBACK (it changes nothing
 * that counts), pauses (a retry may come at any time), readings within a batch, the operator's way out after a restore.
 *
 * Faults come without end, for safety; with -DFAULTS=n only n of them, so that progress can be asked for.
 * One mistake of an implementation each: SETTLE_ON_PUBACK UNBOUND_RECEIPT EARLY_RECEIPT NO_LOCK ACCEPT_GAP
 * SINK_APPENDS NO_RESEND BOOKMARK_FIRST SILENT_RESTORE. check.sh shows that each is found.
 */

#ifndef N
#define N 3        /* batches, 2 or 3 */
#endif
#define W 2        /* the gateway's in-flight window */

mtype = { RECEIPT, RESEND };

chan up   = [1] of { byte };          /* a batch: its seq; each receiver holds one more, so order is lost there */
chan down = [2] of { mtype, byte };   /* RECEIPT seq, or RESEND from seq */

/* durable */
byte settled = 0;       /* ring: batches below may be forgotten */
byte size = 0;          /* ledger: committed batches */
byte booked[N];         /* ledger: how often each was committed */
byte bookmark = 0;      /* queue: batches below are delivered */
byte sink[N];           /* sink: how often each was written */

/* in memory */
bool proved[N];         /* receipts verified, not yet settled */
byte next = 0;          /* gateway: what is published next */
bool behind = false;    /* gateway: status says uplink.hub-behind */
byte busy = 0;          /* receivers and forwarder in the middle of something */
bool restored = false;

#ifdef FAULTS
byte faults = FAULTS;
#define FAULT faults > 0 -> faults--
#else
#define FAULT true
#endif

/* ring.settle, in order and at once; from then on the batch may be gone */
#define SETTLE \
    do \
    :: settled < N && proved[settled] -> \
        assert(settled < size || restored);               /* nothing is lost after a receipt */ \
        proved[settled] = false; settled++ \
    :: else -> break \
    od; \
    if :: next < settled -> next = settled :: else fi

active proctype Sender()
{
    do
    /* the next batch of the window; a full connection blocks */
    :: atomic { next < N && next < settled + W && nfull(up) ->
           up!next;
#ifdef SETTLE_ON_PUBACK
           proved[next] = true;
#endif
           next++;
#ifdef SETTLE_ON_PUBACK
           SETTLE
#endif
       }
#ifndef NO_RESEND
    /* no receipt in time, or a new connection: all of the window again, as often as it likes */
    :: atomic { settled < N && (next == N || next == settled + W) -> next = settled }
#endif
    od
}

active proctype Listener()
{
    mtype kind = RECEIPT;
    byte seq;
    do
    :: atomic { down?kind, seq ->
           if
           :: kind == RECEIPT ->
#ifdef RESTORE
               behind = false;
#endif
#ifdef UNBOUND_RECEIPT
               if :: settled < N -> proved[settled] = true :: else fi;
#else
               if :: seq >= settled -> proved[seq] = true :: else /* foreign */ fi;
#endif
               SETTLE
           :: kind == RESEND && seq >= settled ->
               if :: seq < next -> next = seq :: else fi
           :: kind == RESEND && seq < settled ->          /* or a late answer: the next receipt clears it */
#if defined(RESTORE) && !defined(SILENT_RESTORE)
               behind = true
#else
               skip
#endif
           fi;
           kind = RECEIPT; seq = 0
       }
    /* kill or power cut: memory is gone, the ring is not; the session was clean, so answers under way are lost */
    :: atomic { FAULT;
           do :: nempty(down) -> down?kind, seq :: empty(down) -> break od;
           proved[0] = false; proved[1] = false; proved[N - 1] = false;
           behind = false; next = settled; kind = RECEIPT; seq = 0
       }
    od
}

active proctype Broker()
{
    mtype kind = RECEIPT;
    byte seq;
    do
    :: atomic { nempty(up) -> FAULT; up?seq; seq = 0 }
    :: atomic { nempty(down) -> FAULT; down?kind, seq; kind = RECEIPT; seq = 0 }
    :: atomic { nempty(down) && nfull(down) -> FAULT; down?<kind, seq>; down!kind, seq; kind = RECEIPT; seq = 0 }
    :: atomic { len(down) > 1 -> FAULT; down?kind, seq; down!kind, seq; kind = RECEIPT; seq = 0 }
    :: atomic { nfull(down) && settled > 0 -> FAULT; down!RECEIPT, settled - 1 }
    od
}

#define DIE atomic { FAULT; busy--; seq = 0; seen = 0; goto idle }

/* A message is taken, judged in one transaction, answered; it may die between any two of these. */
active [2] proctype Receiver()
{
    byte seq, seen;
idle:
    atomic { up?seq -> busy++ };
#ifdef NO_LOCK
    seen = size;                                          /* another receiver may commit after this look */
    if :: skip :: DIE fi;
#endif
#ifdef EARLY_RECEIPT
    if
    :: atomic { seq == size && nfull(down) -> assert(booked[seq] > 0); down!RECEIPT, seq }
    :: atomic { seq != size || full(down) -> skip }
    fi;
#endif
    if
    :: atomic {                                           /* Ledger.accept, up to its COMMIT */
#ifndef NO_LOCK
           seen = size;
#endif
           if
#ifdef ACCEPT_GAP
           :: seq >= seen ->
#else
           :: seq == seen ->
#endif
               booked[seq]++;
               assert(booked[seq] == 1);                  /* nothing is booked twice */
               assert(seq == 0 || booked[seq - 1] > 0);   /* the ledger has no hole */
               size = seq + 1;
               seen = seq
           :: seq < seen -> seen = seq
           :: else -> skip
           fi
       }
    :: DIE
    fi;
    if
    :: atomic { nfull(down) ->
           if
           :: seq > seen -> down!RESEND, seen
           :: else ->
               assert(booked[seq] > 0);                   /* no receipt before durable storage */
               down!RECEIPT, seq
           fi;
           busy--; seq = 0; seen = 0; goto idle
       }
    :: DIE
    fi
}

#undef DIE
#define DIE atomic { FAULT; busy--; b = 0; goto idle }

/* From the ledger to the sink, in order. A write whose outcome is unknown is written again. */
active proctype Forwarder()
{
    byte b;
idle:
#ifdef BOOKMARK_FIRST
    atomic { bookmark < size -> b = bookmark; busy++; bookmark = b + 1 };
    if :: skip :: DIE fi;
#endif
    atomic {
#ifndef BOOKMARK_FIRST
        bookmark < size -> b = bookmark; busy++;
#endif
#ifdef SINK_APPENDS
        sink[b]++;
#else
        sink[b] = 1;                                      /* keyed by gateway, epoch and seq */
#endif
        assert(sink[b] == 1)                              /* nothing is written twice */
    };
    if
    :: atomic { bookmark = b + 1; busy--; b = 0; goto idle }
    :: DIE
    fi
}

#ifdef RESTORE
active proctype Operator()
{
    atomic { busy == 0 ->
        restored = true;
        do :: size > 0 -> size--; booked[size] = 0 :: break od;
        do :: bookmark > size -> bookmark-- :: bookmark <= size && bookmark > 0 -> bookmark-- :: bookmark <= size -> break od
    }
}
#endif

#ifdef FAULTS
/* Time goes on when nothing else does: a standstill is an infinite run too, and the checker then sees it as one. */
active proctype Time() { do :: true -> true od }
#endif

#define at_sink (sink[0] > 0 && sink[1] > 0 && sink[N - 1] > 0)

/* Without a restore: everything is settled and at the sink in the end, and stays so. */
ltl delivered { <>[] (settled == N && at_sink) }

/* With one: the same, or the gateway says for good that the hub is behind, or it has nothing left to send. */
ltl noticed { <>[] (behind || settled == N) }

#!/bin/sh
# Run the model checker over delivery.pml: the protocol as it is, then one mistake at a time.
# Usage: check.sh [--quick | --full]   --quick leaves out the long progress runs, --full restores with three batches too.
# Prints a row for each run; exit 1 when one of them does not end as it should. Needs spin and gcc (Debian packages).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mode=${1:-}
for tool in spin gcc; do
    command -v "$tool" >/dev/null || { echo "check.sh: $tool is missing: apt-get install spin gcc" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0

# run EXPECTED TITLE MODEL-FLAGS PROPERTY    (PROPERTY: safety, or the name of an ltl formula)
run() {
    expected=$1 title=$2 flags=$3 property=$4
    rm -rf ./*
    # shellcheck disable=SC2086
    spin -a $flags "$here/delivery.pml" >spin.log 2>&1 || { cat spin.log >&2; exit 2; }
    if [ "$property" = safety ]; then
        gcc -O2 -w -DSAFETY -DNOCLAIM -DCOLLAPSE -o pan pan.c
        ./pan -m3000000 -w24 >pan.log 2>&1 || true
    else
        gcc -O2 -w -DNFAIR=4 -DCOLLAPSE -o pan pan.c
        ./pan -a -f -m3000000 -w24 -N "$property" >pan.log 2>&1 || true
    fi
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' pan.log)
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
    found=$(sed -n -e 's/^pan:1: assertion violated \(.*\) (at depth.*/\1/p' \
                   -e 's/^pan:1: \(acceptance cycle\) (at depth.*/\1/p' pan.log | head -n 1)
    if grep -q -e "max search depth" -e "out of memory" pan.log; then verdict="INCOMPLETE"
    elif [ "${errors:-x}" = 0 ]; then verdict="holds"
    elif [ -n "$found" ]; then verdict="found"
    else verdict="FAILED"; cat pan.log >&2; fi
    [ "$verdict" = "$expected" ] || failed=1
    printf '%-46s %-10s %10s  %-10s %s\n' "$title" "$property" "${states:-?}" "$verdict" "$found"
}

printf '%-46s %-10s %10s  %-10s %s\n' run property states verdict "what was violated"
run holds "any faults, 3 batches"                        "-DN=3"                       safety
run holds "any faults, hub restored, 2 batches"          "-DN=2 -DRESTORE"             safety
if [ "$mode" = --full ]; then
    run holds "any faults, hub restored, 3 batches"      "-DN=3 -DRESTORE"             safety
fi
if [ "$mode" != --quick ]; then
    run holds "2 faults, 2 batches"                      "-DN=2 -DFAULTS=2"            delivered
    run holds "1 fault, hub restored, 2 batches"         "-DN=2 -DFAULTS=1 -DRESTORE"  noticed
fi
run found "mistake: a PUBACK settles"                    "-DN=2 -DSETTLE_ON_PUBACK"    safety
run found "mistake: a receipt proves any batch"          "-DN=2 -DUNBOUND_RECEIPT"     safety
run found "mistake: receipt before COMMIT"               "-DN=2 -DEARLY_RECEIPT"       safety
run found "mistake: two receivers without a lock"        "-DN=2 -DNO_LOCK"             safety
run found "mistake: the hub takes a batch after a gap"   "-DN=2 -DACCEPT_GAP"          safety
run found "mistake: a sink that appends"                 "-DN=2 -DSINK_APPENDS"        safety
run found "mistake: nothing is sent again"               "-DN=2 -DFAULTS=1 -DNO_RESEND"      delivered
run found "mistake: bookmark before the write"           "-DN=2 -DFAULTS=1 -DBOOKMARK_FIRST" delivered
run found "mistake: a restored hub goes unnoticed"       "-DN=2 -DFAULTS=0 -DRESTORE -DSILENT_RESTORE" noticed
exit $failed

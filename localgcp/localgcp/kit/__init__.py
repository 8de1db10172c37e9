"""What every service stands on: calls, ledger, faults, store, operations, errors, interfaces."""

source <(COMPLETE=bash crucible-attach)

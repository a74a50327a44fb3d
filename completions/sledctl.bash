source <(COMPLETE=bash sledctl)

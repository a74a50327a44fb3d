COMPLETE=fish sledctl | source

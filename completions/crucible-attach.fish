COMPLETE=fish crucible-attach | source

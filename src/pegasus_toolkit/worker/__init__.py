"""One node's work: files fetched and verified, programs run, outputs digested and brought, a record left."""

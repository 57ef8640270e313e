-- Everything of an account is found by it, what has ended too: for the export and the erasure of a person.
CREATE INDEX sessions_all_of_account ON sessions (account_id, id);
CREATE INDEX families_all_of_account ON families (account_id, id);

-- By which what has ended is found and removed.
CREATE INDEX refresh_tokens_used ON refresh_tokens (used_at) WHERE used_at IS NOT NULL;
CREATE INDEX families_ended ON families (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX families_old ON families (created_at);
CREATE INDEX families_session ON families (session_id);
CREATE INDEX sessions_seen ON sessions (seen_at);
CREATE INDEX authorization_codes_family ON authorization_codes (family_id) WHERE family_id IS NOT NULL;
CREATE INDEX authorization_codes_session ON authorization_codes (session_id);

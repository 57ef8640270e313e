-- Whom a mail is to, as the keyed digest of the address: by it what waits, or is shown in development, is erased with
-- the account. Mails from before this have none, and are gone within a week.
ALTER TABLE mails ADD COLUMN recipient bytea;
CREATE INDEX mails_recipient ON mails (recipient);

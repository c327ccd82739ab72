CREATE TABLE ledger_account (
    account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code       text NOT NULL UNIQUE CHECK (code ~ '^[a-z][a-z0-9_:-]*$'),
    kind       text NOT NULL CHECK (kind IN ('asset', 'liability', 'revenue', 'expense')),
    party_id   text REFERENCES party,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE ledger_account IS 'The chart of accounts; codes are listed in docs/ledger.md.';

CREATE TABLE ledger_balance (
    account_id bigint PRIMARY KEY REFERENCES ledger_account,
    debit_fen  bigint NOT NULL DEFAULT 0 CHECK (debit_fen >= 0),
    credit_fen bigint NOT NULL DEFAULT 0 CHECK (credit_fen >= 0)
);
COMMENT ON TABLE ledger_balance IS 'Totals posted to an account, kept in the transaction that posts; the audit recomputes them from the postings.';
COMMENT ON COLUMN ledger_balance.debit_fen IS 'Sum of debits in fen (1/100 yuan).';
COMMENT ON COLUMN ledger_balance.credit_fen IS 'Sum of credits in fen (1/100 yuan).';

CREATE TABLE journal_entry (
    entry_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key text NOT NULL UNIQUE CHECK (idempotency_key <> ''),
    kind            text NOT NULL,
    session_id      uuid,
    occurred_at     timestamptz NOT NULL,
    booked_at       timestamptz NOT NULL,
    content_sha256  bytea NOT NULL CHECK (length(content_sha256) = 32)
);
COMMENT ON TABLE journal_entry IS 'One business event in money; immutable and balanced. The same key with other content is an error.';
CREATE INDEX journal_entry_session ON journal_entry (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE posting (
    entry_id   bigint NOT NULL REFERENCES journal_entry,
    line_no    smallint NOT NULL CHECK (line_no > 0),
    account_id bigint NOT NULL REFERENCES ledger_account,
    side       text NOT NULL CHECK (side IN ('debit', 'credit')),
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    PRIMARY KEY (entry_id, line_no)
);
COMMENT ON TABLE posting IS 'One line of a journal entry.';
COMMENT ON COLUMN posting.amount_fen IS 'Fen (1/100 yuan), always positive; the side says the direction.';
CREATE INDEX posting_account ON posting (account_id, entry_id);

CREATE FUNCTION check_entry_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lines  integer;
    excess bigint;
BEGIN
    SELECT count(*), coalesce(sum(CASE side WHEN 'debit' THEN amount_fen ELSE -amount_fen END), 0)
      INTO lines, excess FROM posting WHERE entry_id = NEW.entry_id;
    IF lines < 2 OR excess <> 0 THEN
        RAISE EXCEPTION 'journal entry %: % lines, debits exceed credits by % fen', NEW.entry_id, lines, excess
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_entry_balanced';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER journal_entry_balanced AFTER INSERT ON journal_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_entry_balanced();
CREATE CONSTRAINT TRIGGER posting_balanced AFTER INSERT ON posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_entry_balanced();
CREATE TRIGGER journal_entry_immutable BEFORE UPDATE OR DELETE ON journal_entry
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER posting_immutable BEFORE UPDATE OR DELETE ON posting
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER journal_entry_kept BEFORE TRUNCATE ON journal_entry
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();
CREATE TRIGGER posting_kept BEFORE TRUNCATE ON posting
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();

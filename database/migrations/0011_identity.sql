ALTER TABLE pile
    ADD COLUMN parent_pile_id text REFERENCES pile CHECK (parent_pile_id <> pile_id),
    ADD COLUMN state_since timestamptz;
UPDATE pile SET state_since = registered_at;
ALTER TABLE pile ALTER COLUMN state_since SET NOT NULL;
COMMENT ON COLUMN pile.parent_pile_id IS 'The host that hands on what this pile says and hears; null for one with a connection of its own.';
COMMENT ON COLUMN pile.state_since IS 'When the pile came into its state.';
CREATE INDEX pile_parent ON pile (parent_pile_id) WHERE parent_pile_id IS NOT NULL;
CREATE INDEX pile_barred ON pile (state_since) WHERE state IN ('quarantined', 'revoked');

CREATE TABLE pile_state_change (
    change_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pile_id    text NOT NULL REFERENCES pile,
    from_state text,
    to_state   text NOT NULL,
    changed_by text NOT NULL CHECK (changed_by <> ''),
    reason     text NOT NULL CHECK (reason <> ''),
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE pile_state_change IS 'Every change of a pile''s state: from what to what, by whom and why; rows are never changed.';
COMMENT ON COLUMN pile_state_change.changed_by IS 'A person''s name, pile for what the pile''s own messages brought about, or system.';
CREATE INDEX pile_state_change_pile ON pile_state_change (pile_id, change_id DESC);
INSERT INTO pile_state_change (pile_id, from_state, to_state, changed_by, reason, changed_at)
SELECT pile_id, NULL, state, 'system', 'known before changes were recorded', registered_at FROM pile ORDER BY registered_at;
CREATE TRIGGER pile_state_change_immutable BEFORE UPDATE OR DELETE ON pile_state_change
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER pile_state_change_kept BEFORE TRUNCATE ON pile_state_change
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();

ALTER TABLE pile_certificate ADD COLUMN superseded_at timestamptz;
COMMENT ON COLUMN pile_certificate.superseded_at IS 'When its pile got a newer one; it stays good for some days, in case the newer one was lost on the way.';

ALTER TABLE pile_key ADD COLUMN first_used_at timestamptz;
UPDATE pile_key SET first_used_at = created_at;
COMMENT ON COLUMN pile_key.first_used_at IS 'Since when the pile is known to hold this secret: from its enrolment, or from the first frame read under it. Until then nothing is sealed under it.';
COMMENT ON COLUMN pile_key.retired_at IS 'From then on nothing under this secret is read: the pile has enrolled anew, or has long used a newer one.';

CREATE TABLE claim_attempt (
    scope     text NOT NULL CHECK (scope IN ('pile', 'source')),
    name      text NOT NULL,
    began_at  timestamptz NOT NULL,
    failures  integer NOT NULL CHECK (failures >= 0),
    PRIMARY KEY (scope, name)
);
COMMENT ON TABLE claim_attempt IS 'Refused claim codes in a window of time, by pile id and by the network address they came from.';
COMMENT ON COLUMN claim_attempt.began_at IS 'When the window began, on the machine''s own clock.';
CREATE INDEX claim_attempt_began ON claim_attempt (began_at);

CREATE TABLE identity_conflict (
    conflict_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pile_id      text NOT NULL REFERENCES pile,
    kind         text NOT NULL CHECK (kind IN ('duplicate_identity', 'counter_reused', 'counter_went_back')),
    began_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    observations bigint NOT NULL CHECK (observations > 0),
    detail       jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE identity_conflict IS 'Episodes in which two devices seem to speak as one pile, or one has forgotten its counters.';
COMMENT ON COLUMN identity_conflict.observations IS 'How often it was seen in this episode; the event is told once.';
CREATE INDEX identity_conflict_pile ON identity_conflict (pile_id, kind, last_at DESC);

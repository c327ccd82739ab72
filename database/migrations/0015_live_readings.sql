-- Who watches says so, and only watched sessions are told of. What a crash of the server forgets, the watchers say again.
CREATE UNLOGGED TABLE session_watch (
    pile_id       text NOT NULL,
    session_id    uuid NOT NULL,
    watched_until timestamptz NOT NULL,
    PRIMARY KEY (pile_id, session_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE session_watch IS 'Sessions whose readings somebody watches live; a lapsed watch counts for nothing.';
COMMENT ON COLUMN session_watch.watched_until IS 'By the database''s clock.';

-- The samples of a batch are looked up here by their piles: the first one of such a session begins it.
CREATE INDEX charging_session_before_charge ON charging_session (pile_id)
    WHERE state IN ('paid', 'awaiting_code', 'code_lapsed', 'starting', 'pending_plug');

-- A session's newest reading is its newest sample.
ALTER TABLE charging_session
    DROP COLUMN last_sampled_at,
    DROP COLUMN last_power_dw,
    DROP COLUMN last_energy_dwh;

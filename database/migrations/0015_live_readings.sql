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

-- A session's newest reading is its newest sample. A process of an older version still writes these columns while it
-- goes on working beside a newer one, so they stay for now.
COMMENT ON COLUMN charging_session.last_sampled_at IS 'Nothing writes this any more; a later release drops it.';
COMMENT ON COLUMN charging_session.last_power_dw IS 'Nothing writes this any more; a later release drops it. In 0.1 W.';
COMMENT ON COLUMN charging_session.last_energy_dwh IS 'Nothing writes this any more; a later release drops it. In 0.1 Wh.';

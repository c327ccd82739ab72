CREATE TABLE refused_local_start (
    pile_id    text NOT NULL REFERENCES pile,
    session_id uuid NOT NULL,
    by_card    boolean NOT NULL,
    refused_at timestamptz NOT NULL,
    over_limit boolean NOT NULL,
    PRIMARY KEY (pile_id, by_card, session_id)
);
COMMENT ON TABLE refused_local_start IS 'Starts at a pile that were refused lately: the newest of each pile, so that one told again is known and many are noticed.';
COMMENT ON COLUMN refused_local_start.by_card IS 'It named a card''s number, which costs a slow hash to look up.';
COMMENT ON COLUMN refused_local_start.over_limit IS 'Refused unread for those before it; only one in a while is written down.';

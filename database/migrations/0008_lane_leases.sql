CREATE TABLE lane_lease (
    lane       smallint PRIMARY KEY CHECK (lane BETWEEN 0 AND 63),
    owner      text NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE lane_lease IS 'Which gateway consumes which lane, by the database''s clock; a lapsed lease is free to take.';

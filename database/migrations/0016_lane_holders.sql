ALTER TABLE lane_lease
    ADD COLUMN renewed_at        timestamptz,
    ADD COLUMN holder_pid        integer,
    ADD COLUMN holder_started_at timestamptz,
    ADD COLUMN orphaned_at       timestamptz;
COMMENT ON TABLE lane_lease IS 'Which gateway consumes which lane, by the database''s clock; free to take once it lapsed, or once its holder''s connection is gone for a while.';
COMMENT ON COLUMN lane_lease.renewed_at IS 'When the holder last renewed or gave back the lease: since then nobody is known to serve the lane.';
COMMENT ON COLUMN lane_lease.holder_pid IS 'Backend process of the holder''s connection at its last renewal.';
COMMENT ON COLUMN lane_lease.holder_started_at IS 'When that backend began, for process ids are used again.';
COMMENT ON COLUMN lane_lease.orphaned_at IS 'When another gateway first found that backend gone; the holder''s next renewal clears it.';

ALTER TABLE pile_port
    ADD COLUMN register_dwh bigint,
    ADD COLUMN register_at timestamptz;
COMMENT ON COLUMN pile_port.register_dwh IS 'Energy register in 0.1 Wh at the end of the newest session settled; a session that begins elsewhere shows a reset or a jump.';
COMMENT ON COLUMN pile_port.register_at IS 'When that session ended, by our clock.';

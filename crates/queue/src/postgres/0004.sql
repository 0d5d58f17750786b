-- Calls of webhooks live for seconds, as mail does: what is dead is cleared away early, and at once.
ALTER TABLE webhook_calls SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
                               autovacuum_vacuum_insert_scale_factor = 0.1);
-- History grows by each message and is forgotten at its other end. By what is usual a fifth of it could be dead, which may be more than all
-- the rest of the database; so it is cleared early too, but with pauses: it is large, and nobody waits for it.
ALTER TABLE history SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
                         autovacuum_vacuum_insert_scale_factor = 0.1);
ALTER TABLE history_terms SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
                               autovacuum_vacuum_insert_scale_factor = 0.1);
-- Summed up again and again, as `figures` are.
ALTER TABLE history_size SET (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);
-- A row for each large message on its way in, and none of them stays.
ALTER TABLE uploads SET (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

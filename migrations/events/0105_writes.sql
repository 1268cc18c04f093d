-- For contracts: the writes of an endpoint, and the invalidations that a write caused. Both are partial: accesses, rebuilds and samples, which are
-- most of what comes in, pay nothing for them.
CREATE INDEX raw_writes ON events.raw (endpoint, at) WHERE kind = 4;
CREATE INDEX raw_caused ON events.raw (mutation_id) WHERE kind = 3 AND mutation_id IS NOT NULL;

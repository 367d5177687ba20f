-- What gateways on one store tell each other.

-- Rises with each change of what gateways keep in memory.
CREATE TABLE news (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL
) STRICT;
INSERT INTO news (one, number) VALUES (1, 1);

-- Those that serve, by the database's clock.
CREATE TABLE gateways (
    id TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    seen_s INTEGER NOT NULL
) STRICT;

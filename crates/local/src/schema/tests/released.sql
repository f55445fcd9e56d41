INSERT INTO execution (id, rule, "trigger", created) VALUES
    ('e-event', 'core-images', 'event', 1767225600123),
    ('e-import', 'seed', 'import', 1767225700123);

INSERT INTO task (id, execution, rule, action, source_registry, source_repository, source_target, destination_registry,
                  destination_repository, destination_target, follows, digest, state, code, message, attempts, created, next,
                  finished, copied, mounted, skipped, touched, body) VALUES
    ('t-copied', 'e-event', 'core-images', 'copy', 'hangzhou', 'core/app', ':v1', 'zhangjiakou', 'copy/app', ':v1', 0,
     'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'succeeded', NULL, NULL, 1, 1767225600123, NULL, 1767225605123, 1200, 30, 4, 1767225601123,
     '{"version":1,"id":"t-copied"}'),
    ('t-failed', 'e-event', 'core-images', 'copy', 'hangzhou', 'core/app', ':v2', 'zhangjiakou', 'copy/other', ':v2', 0,
     NULL, 'failed', 'NOT_FOUND', 'gone', 1, 1767225601123, NULL, 1767225609123, 0, 0, 0, 1767225601123,
     '{"version":1,"id":"t-failed"}'),
    ('t-waiting', 'e-import', 'seed', 'copy', 'hangzhou', 'core/app', ':v3', 'zhangjiakou', 'copy/app', ':v3', 0,
     'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'waiting', 'RATE_LIMITED', 'later', 2, 1767225700123, 1767225800123, NULL, 0, 0, 0, 1767225800123,
     '{"version":1,"id":"t-waiting"}'),
    ('t-scan', 'e-import', 'seed', 'copy', 's3://layouts', 'a', ':_', 'zhangjiakou', 'copy/a', ':_', 0,
     NULL, 'waiting', 'RATE_LIMITED', 'later', 1, 1767225701123, 1767225800123, NULL, 0, 0, 0, 1767225800123,
     '{"version":1,"id":"t-scan"}');

INSERT INTO replica (number, destination_registry, destination_repository, destination_target, source_registry,
                     source_repository, source_target, digest, rule, written) VALUES
    (1, 'zhangjiakou', 'copy/app', ':v1', 'hangzhou', 'core/app', ':v1', 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'core-images', 1767225605123);
INSERT INTO replica_digest (replica, role, position, digest) VALUES (1, 'manifest', 0, 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');

INSERT INTO location (host, digest, repository) VALUES ('r.example', 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'copy/a'), ('r.example', 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'copy/b');
INSERT INTO pause (host, "until") VALUES ('r.example', 99999999999999);

-- Orders that the examples, smoke conversations and load tests talk about. Safe to run again: nothing is overwritten.
-- An order is seen by its customer only: the first 200 are of acme-hotels, for whom everybody acts in development.
INSERT INTO orders (id, customer, item, amount, currency, status, created_at)
SELECT n,
       CASE WHEN n <= 200 THEN 'acme-hotels' ELSE 'customer-' || lpad(((n * 7) % 50)::text, 2, '0') END,
       (ARRAY['walnut desk', 'reading lamp', 'linen sofa', 'oak bookshelf', 'ceramic kettle', 'wool rug', 'bar stool'])[1 + n % 7],
       round((19 + (n * 37) % 880 + 0.95)::numeric, 2),
       'USD',
       (ARRAY['placed', 'packed', 'shipped', 'delivered'])[1 + n % 4],
       timestamptz '2026-01-05 09:00:00+00' + n * interval '3 hours'
FROM generate_series(1, 500) AS n
WHERE n <> 42
ON CONFLICT (id) DO NOTHING;

-- Order 42 is the one that smoke conversations refund in part, release after release: a large contract order.
INSERT INTO orders (id, customer, item, amount, currency, status, created_at)
VALUES (42, 'acme-hotels', 'furnishing of 120 rooms', 480000.00, 'USD', 'shipped', timestamptz '2026-01-10 15:00:00+00')
ON CONFLICT (id) DO NOTHING;

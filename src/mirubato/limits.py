"""Every bound that is not a setting, with its unit in its name, and how the bounds relate."""

MIB = 1 << 20

# Requests that wait for the writer, in bytes: past it the answer is 503. Four requests of the largest size fit.
WAITING_BYTES_MAX = 256 * MIB

# The writer stops taking requests into a commit here, so that one commit (and its fsync) stays short.
COMMIT_BYTES_MAX = 8 * MIB

# Known shapes, in bytes of templates and offsets; a shape of 100 points takes about 35 kB.
SHAPE_CACHE_BYTES_MAX = 64 * MIB
# Templates kept for one (resource, length): collectors permute points, and each candidate costs a comparison (5 us).
SHAPES_PER_KEY_MAX = 4
# Requests remembered once, to see whether a shape comes a second time.
SHAPE_SIGHTINGS_MAX = 50_000

# Layouts of points kept for one metric of one resource: a metric has one, or two where integers and doubles mix.
LAYOUTS_MAX = 3
# And in all: one for numbers, one for each set of bucket bounds, each times the ways in which SDKs write them.
LAYOUTS_IN_ALL_MAX = 32

# Attribute sets, resources, scopes and metrics remembered by their bytes; past it the whole cache starts anew.
ATTRIBUTE_CACHE_ENTRIES_MAX = 1_500_000
# What an entry takes, about; one with a longer key counts as more than one.
ATTRIBUTE_CACHE_ENTRY_BYTES = 300

# Values in one block: what a query must read at least; 64 k values decode in about 0.3 ms.
BLOCK_VALUES_MAX = 65_536
# Runs of one metric that merge into one; each at most a block, so a merge holds at most 4 of them.
MERGE_RUNS = 4

# Unsealed samples are also in memory, 24 bytes each: past this many loads of `seal_samples`, requests wait for the
# sealer, and if it does not come the answer is 503.
UNSEALED_LOADS_MAX = 3

# A series counts as active for an hour after its last sample, and leaves memory after that.
ACTIVE_SERIES_MS = 3_600_000

# Prometheus' staleness rule: an instant query sees the newest sample of the last 5 minutes.
LOOKBACK_MS = 300_000
# Prometheus' bound on steps of a range query (web/api/v1/api.go).
STEPS_MAX = 11_000

# Points in the answer of a range query, each 32 bytes as a Python number and about 35 as JSON.
ANSWER_POINTS_MAX = 5_000_000

# An expression in characters: a person writes hundreds, a dashboard thousands. One of this size, all arguments of one
# call, took 0.2 s to parse; most take less than 0.1 s.
EXPRESSION_CHARS_MAX = 65_536
# Parentheses, calls, aggregations and signs within each other. The parser takes 4 Python frames for one, of the 1,000
# that a thread has.
EXPRESSION_NESTING_MAX = 100
# Nodes on the way from the root of an expression to a leaf. A row of n operators counts n: `a or b or c` is
# `(a or b) or c`. What visits the tree may take 3 frames for one.
EXPRESSION_DEPTH_MAX = 250
# `@` is within 146 million years of 1970: then sums with offsets and ranges stay within int64.
AT_MS_MAX = 1 << 62
# Numbers, operators' operands and parentheses in one duration.
DURATION_TERMS_MAX = 50

# target_info is written again after this much time, well within the look-back.
TARGET_INFO_INTERVAL_MS = 60_000

# Metrics told of apart from their samples (remote write's metadata) are taken up to this many families in all.
FAMILIES_MAX = 100_000

# Time series, samples, histograms, exemplars and metadata, all together, in one remote write request: Prometheus sends
# 2,000 samples, vmagent 10,000. Each can be as little as 2 bytes, takes up to 80 in memory, and 1.5 us of the writer.
REMOTE_WRITE_ENTRIES_MAX = 500_000

# Exemplars kept in all; the oldest go first. OpenMetrics allows 128 code points of exemplar labels.
EXEMPLARS_MAX = 100_000
EXEMPLAR_LABEL_CHARS_MAX = 128

# Buckets on one side of a native histogram (the SDKs make 160): a point with more is rejected, and a total of deltas is
# merged into coarser ones, because each delta costs 0.1 us for every bucket of the total.
NATIVE_BUCKETS_MAX = 20_000
NATIVE_TOTAL_BUCKETS_MAX = 2_000

# Deepest nesting of an attribute value, and of the messages of a request (what upb reads by default).
ATTRIBUTE_DEPTH_MAX = 32
MESSAGE_DEPTH_MAX = 100

# Bytes that a scope, metric, point or attribute takes on average at least, beyond the first so many of a request.
MESSAGE_BYTES_MIN = 8
SMALL_MESSAGES_MAX = 10_000

# Requests remembered for /api/inbox, of those taken and of those in trouble each.
INBOX_REQUESTS_MAX = 100

# A reply must fit gRPC's 4 MiB; reasons are cut long before.
REASONS_MAX = 5
REASON_CHARS_MAX = 300

# SIGTERM to exit.
SHUTDOWN_S_MAX = 8.0

assert EXPRESSION_NESTING_MAX < EXPRESSION_DEPTH_MAX
assert COMMIT_BYTES_MAX <= WAITING_BYTES_MAX
assert TARGET_INFO_INTERVAL_MS < LOOKBACK_MS

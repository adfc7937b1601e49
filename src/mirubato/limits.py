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

# Samples that one step of retention takes at once: 100 bytes each while it computes.
MOVED_SAMPLES_MAX = 1_000_000

# Exemplars that one commit of retention removes.
MOVED_EXEMPLARS_MAX = 10_000
# For want of room samples become rollups early, but not those of the last two hours: alerts need them.
RAW_MS_MIN = 7_200_000

# So far back the rows of past hours are written when the gateway was away.
ROWS_BEHIND_MS_MAX = 7 * 86_400_000

# Series without data that are removed in one commit.
SWEPT_SERIES_MAX = 5_000

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
# Trees of expressions that are kept for when they come again (a rule's comes every 15 s), and how long their texts may
# be: the built-in error rate has 2,400 characters and takes 1.4 ms to parse.
REMEMBERED_EXPRESSIONS_MAX = 2_000
REMEMBERED_EXPRESSION_CHARS_MAX = 8_192
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

# Different selectors of metrics that are remembered between two looks at what was asked for (a minute).
COST_SELECTORS_MAX = 10_000
# Metrics that get a price tag, and those whose labels are looked at one by one.
COST_METRICS_MAX = 5_000
COST_LABELED_METRICS_MAX = 20

# A reply must fit gRPC's 4 MiB; reasons are cut long before.
REASONS_MAX = 5
REASON_CHARS_MAX = 300

# Active series of one alert rule, and series of one recording rule, unless it has a limit of its own: past it the
# evaluation fails, and the other rules go on.
ALERTS_PER_RULE_MAX = 10_000

# How often a rule may be evaluated: a tick more often than this would do little else.
RULE_INTERVAL_MS_MIN = 1_000

# Rules of the API, and the size of one rule file: a mixin of 100 rules has about 50 kB.
API_RULES_MAX = 10_000
RULE_FILE_BYTES_MAX = 10 * MIB
RULE_BODY_BYTES_MAX = MIB

# Templates of labels and annotations: characters of one and of what it yields, actions and calls in one run, and
# blocks, parentheses and templates within each other.
TEMPLATE_CHARS_MAX = 65_536
TEMPLATE_STEPS_MAX = 100_000
TEMPLATE_NESTING_MAX = 50

# A span or log record in bytes; past it it is rejected. OTLP's own limits (128 attributes) make a few kB.
SPAN_BYTES_MAX = MIB
# Attributes of a span, log record or resource that are looked at.
ITEM_ATTRIBUTES_MAX = 1000
# A span's name, or another text that becomes a label of a series made of spans or logs.
SPAN_LABEL_CHARS_MAX = 256
# More than this one span cannot stand for.
SPAN_WEIGHT_MAX = 1e9
# Resources of spans and logs remembered by their bytes; past it all are forgotten and read again.
ORIGIN_CACHE_BYTES_MAX = 32 * MIB
# Span ids remembered to know duplicates by, in each of two generations; about 100 bytes each.
SEEN_SPANS_MAX = 200_000
# Halves of calls that wait for the other half, about 400 bytes each, and for how long.
WAITING_CALLS_MAX = 50_000
CALL_WAIT_MS = 60_000
# Services with series of their own made of spans or logs; what comes from more is counted as `overflow`.
SPAN_SERVICES_MAX = 1000
# How often the totals of a series are written again when they do not change, and for how long.
SPAN_SERIES_REPEAT_MS = 10_000
SPAN_SERIES_IDLE_MS = 15 * 60_000
# A new series begins with a zero so long before its first sample: as if it had been scraped then.
SPAN_SERIES_LEAD_MS = 30_000
# Seconds between two exemplars of one series.
SPAN_EXEMPLAR_S = 5
# A log record's body: what is handed on as text, and what is read as JSON.
LOG_BODY_CHARS_MAX = 4096
LOG_JSON_CHARS_MAX = 65_536

# What a span takes while its trace waits for the tail decision, beside its message; so does the trace itself.
WAITING_SPAN_BYTES = 500
# Kept traces whose later spans are still known as theirs, about 300 bytes each; the ones longest without a span go.
KEPT_TRACES_MAX = 50_000
# Spans kept of one trace: one that never ends must not take all of traces.db.
SPANS_PER_TRACE_MAX = 10_000
# Spans and log records of one trace that are read for an answer: 20,000 usual ones, and 512 of the largest.
TRACE_ANSWER_BYTES_MAX = 32 * MIB
# A kept span or log record larger than this loses its longest texts: 12 attributes take 1 kB.
KEPT_MESSAGE_BYTES_MAX = 65_536

# A token that somebody sends: ours have 63 characters.
SECRET_CHARS_MAX = 512
# Headers whose sender is remembered as they came; past it all are forgotten, and cost a parse and a hash again.
KNOWN_HEADERS_MAX = 1000
# Changes in the record of who did what; the oldest go.
AUDIT_ENTRIES_MAX = 100_000
# Attempts to log in from one address, and addresses of which they are counted.
LOGINS_PER_MINUTE = 10
LOGIN_ADDRESSES_MAX = 10_000
# A session of the page: a working day and some.
SESSION_MS = 12 * 3_600_000

# Alerts that one message carries: webhooks get all of them, people's channels show the first few and a number.
MESSAGE_ALERTS_MAX = 1_000
# Groups that one rule may open at one tick, each a message; what goes beyond is one group of the whole rule.
NEW_GROUPS_PER_TICK_MAX = 20
# An alert that began or ceased to fire more often than this within the window flaps: from then on people hear of it
# only once it has kept still. Three changes (fires, is over, fires again) are always told.
FLAP_CHANGES_MAX = 3
FLAP_WINDOW_MS = 1_800_000
FLAP_STABLE_MS = 300_000
# A silence's end is announced so long before.
SILENCE_NOTICE_MS = 900_000
SILENCE_MATCHERS_MAX = 50
SILENCE_TEXT_CHARS_MAX = 1_000
# A rule with `no_data: alert` misses a series for so long; then the series is taken for gone for good.
SERIES_MISSED_MS_MAX = 86_400_000
# After a start, rules without a condition keep their alerts for as long as the gateway was away, at most this: the
# clients' retries bring the data of that time.
GRACE_MS_MAX = 120_000
# A rule's evaluation may take so long, and a tick waits so long before it puts on disk what it has.
EVALUATION_S_MAX = 10.0
EVALUATION_SLICE_S = 0.5
# Queries for the details of a message (last week, what differs, traces): all of a tick's together.
DETAILS_S_MAX = 0.4
DETAILED_MESSAGES_MAX = 5
# Changes of state, silences that ended and deliveries are kept for 90 days; one answer has at most so many changes.
JOURNAL_MS_MAX = 90 * 86_400_000
HISTORY_ENTRIES_MAX = 5_000

# A receiver has so long for one answer, which is read up to a bound. Between attempts the pause doubles; after a day
# the message is given up.
DELIVERY_S_MAX = 10.0
DELIVERY_ANSWER_BYTES_MAX = 65_536
DELIVERY_PAUSE_MS_MIN = 1_000
DELIVERY_PAUSE_MS_MAX = 300_000
DELIVERY_GIVES_UP_MS = 86_400_000
# Rows of the outbox that a queue looks at for the next message.
OWED_AT_ONCE_MAX = 100

# Deploy markers that one service makes by itself in an hour, and markers in all: a version that is another in each span
# must not fill state.db. Versions that are remembered, and characters of each.
DEPLOYS_PER_HOUR_MAX = 20
DEPLOYS_MAX = 100_000
SERVICE_VERSIONS_MAX = 10_000
VERSION_CHARS_MAX = 200

# A probe reads so much of an answer, and follows so many redirects.
PROBE_BODY_BYTES_MAX = MIB
PROBE_REDIRECTS_MAX = 10

# What a disk should have free, and below what `mirubato doctor` calls it a problem: 1,000 series of 4 samples a
# minute take 23 MB a day at 4 bytes each.
DISK_FREE_BYTES_LOW = 1024 * MIB
DISK_FREE_BYTES_MIN = 200 * MIB

# SIGTERM to exit.
SHUTDOWN_S_MAX = 8.0

assert EXPRESSION_NESTING_MAX < EXPRESSION_DEPTH_MAX
assert COMMIT_BYTES_MAX <= WAITING_BYTES_MAX
assert TARGET_INFO_INTERVAL_MS < LOOKBACK_MS
assert SPAN_SERIES_REPEAT_MS < SPAN_SERIES_LEAD_MS < LOOKBACK_MS

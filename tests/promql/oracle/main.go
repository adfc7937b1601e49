// The oracle: Prometheus' own PromQL engine over samples in memory, asked in JSON, one request and one answer a line.
//
// Tests compare Mirubato's answers with its answers. Every request is one of
//
//	{"clear": true}
//	{"load": [{"labels": {..}, "samples": [{"t": ms, "v": "1.5" | "h": {..}}, ..]}, ..]}   added to what is there
//	{"query": text, "start": ms, "end": ms, "step": ms, "lookback": ms}                   step 0: at `start` only
//	{"parse": text}                                                                       the text as Prometheus writes it
//	{"pin": text, "start": ms}                                                            the same with `@` everywhere
//
// Numbers are strings, so that NaN, Inf and the last bit come through; "stale" is the staleness marker.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Everything that has a setting is on, apart from what changes the meaning of plain queries: the name of a metric goes
// when a function is applied (no delayed removal), and start times count for nothing. Both are the server's defaults.
var parserOptions = parser.Options{
	EnableExperimentalFunctions:  true,
	ExperimentalDurationExpr:     true,
	EnableExtendedRangeSelectors: true,
	EnableBinopFillModifiers:     true,
}

func newEngine(delayedNameRemoval bool) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples:               50_000_000,
		Timeout:                  time.Minute,
		LookbackDelta:            5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnableDelayedNameRemoval: delayedNameRemoval,
		Parser:                   parser.NewParser(parserOptions),
	})
}

// Samples. -------------------------------------------------------------------------------------------------------

type sample struct {
	t  int64
	f  float64
	fh *histogram.FloatHistogram
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.f }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return s.fh }

func (s sample) Type() chunkenc.ValueType {
	if s.fh != nil {
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}

func (s sample) Copy() chunks.Sample {
	if s.fh == nil {
		return s
	}
	return sample{s.t, s.f, s.fh.Copy()}
}

type sampleColumn []sample

func (c sampleColumn) Get(i int) chunks.Sample { return c[i] }
func (c sampleColumn) Len() int                { return len(c) }

type series struct {
	labels  labels.Labels
	samples sampleColumn
}

func (s series) Labels() labels.Labels { return s.labels }
func (s series) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return storage.NewListSeriesIteratorWithCopy(s.samples)
}

// A store: series by the text of their labels. It is all that the engine needs of a storage.
type store map[string]*series

func (s store) add(name labels.Labels, samples sampleColumn) {
	one, there := s[name.String()]
	if !there {
		one = &series{labels: name}
		s[name.String()] = one
	}
	one.samples = append(one.samples, samples...)
	sort.SliceStable(one.samples, func(i, j int) bool { return one.samples[i].t < one.samples[j].t })
}

func (s store) Querier(mint, maxt int64) (storage.Querier, error) {
	return querier{s, mint, maxt}, nil
}

type querier struct {
	store      store
	mint, maxt int64
}

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []series
	for _, one := range q.store {
		if window := q.window(one.samples); len(window) > 0 && matches(one.labels, matchers) {
			found = append(found, series{one.labels, window})
		}
	}
	sort.Slice(found, func(i, j int) bool { return labels.Compare(found[i].labels, found[j].labels) < 0 })
	return &seriesSet{found: found}
}

func (q querier) window(samples sampleColumn) sampleColumn {
	low := sort.Search(len(samples), func(i int) bool { return samples[i].t >= q.mint })
	high := sort.Search(len(samples), func(i int) bool { return samples[i].t > q.maxt })
	if low >= high {
		return nil
	}
	return samples[low:high]
}

func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, fmt.Errorf("not needed for queries")
}

func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, fmt.Errorf("not needed for queries")
}

func (querier) Close() error { return nil }

func matches(name labels.Labels, matchers []*labels.Matcher) bool {
	for _, matcher := range matchers {
		if !matcher.Matches(name.Get(matcher.Name)) {
			return false
		}
	}
	return true
}

type seriesSet struct {
	found []series
	next  int
}

func (s *seriesSet) Next() bool                        { s.next++; return s.next <= len(s.found) }
func (s *seriesSet) At() storage.Series                { return s.found[s.next-1] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// JSON. -----------------------------------------------------------------------------------------------------------

type number float64

func (n number) MarshalJSON() ([]byte, error) {
	return json.Marshal(strconv.FormatFloat(float64(n), 'g', -1, 64))
}

func (n *number) UnmarshalJSON(text []byte) error {
	var written string
	if err := json.Unmarshal(text, &written); err != nil {
		return err
	}
	if written == "stale" {
		*n = number(math.Float64frombits(value.StaleNaN))
		return nil
	}
	parsed, err := strconv.ParseFloat(written, 64)
	*n = number(parsed)
	return err
}

// Bucket counts by index, as Prometheus numbers buckets.
type buckets map[int32]number

type jsonHistogram struct {
	Schema        int32    `json:"schema"`
	Count         number   `json:"count"`
	Sum           number   `json:"sum"`
	ZeroCount     number   `json:"zero_count"`
	ZeroThreshold number   `json:"zero_threshold"`
	Positive      buckets  `json:"positive"`
	Negative      buckets  `json:"negative"`
	Custom        []number `json:"custom"`
	Hint          byte     `json:"hint"` // histogram.CounterResetHint: 0 unknown, 1 reset, 2 not reset, 3 gauge
}

func (b buckets) spans() ([]histogram.Span, []float64) {
	indices := make([]int32, 0, len(b))
	for index := range b {
		indices = append(indices, index)
	}
	sort.Slice(indices, func(i, j int) bool { return indices[i] < indices[j] })
	var spans []histogram.Span
	var counts []float64
	next := int32(0)
	for _, index := range indices {
		if len(spans) == 0 || index != next {
			spans = append(spans, histogram.Span{Offset: index - next})
		}
		spans[len(spans)-1].Length++
		counts = append(counts, float64(b[index]))
		next = index + 1
	}
	return spans, counts
}

func bucketsOf(it histogram.BucketIterator[float64]) buckets {
	found := buckets{}
	for it.Next() {
		if bucket := it.At(); bucket.Count != 0 {
			found[bucket.Index] = number(bucket.Count)
		}
	}
	return found
}

func (h *jsonHistogram) histogram() *histogram.FloatHistogram {
	made := &histogram.FloatHistogram{
		CounterResetHint: histogram.CounterResetHint(h.Hint),
		Schema:           h.Schema,
		Count:            float64(h.Count),
		Sum:              float64(h.Sum),
		ZeroCount:        float64(h.ZeroCount),
		ZeroThreshold:    float64(h.ZeroThreshold),
	}
	for _, bound := range h.Custom {
		made.CustomValues = append(made.CustomValues, float64(bound))
	}
	made.PositiveSpans, made.PositiveBuckets = h.Positive.spans()
	made.NegativeSpans, made.NegativeBuckets = h.Negative.spans()
	return made
}

func histogramOf(h *histogram.FloatHistogram) *jsonHistogram {
	made := &jsonHistogram{
		Schema:        h.Schema,
		Count:         number(h.Count),
		Sum:           number(h.Sum),
		ZeroCount:     number(h.ZeroCount),
		ZeroThreshold: number(h.ZeroThreshold),
		Positive:      bucketsOf(h.PositiveBucketIterator()),
		Negative:      bucketsOf(h.NegativeBucketIterator()),
		Hint:          byte(h.CounterResetHint),
	}
	for _, bound := range h.CustomValues {
		made.Custom = append(made.Custom, number(bound))
	}
	return made
}

type jsonSample struct {
	Time      int64          `json:"t"`
	Value     *number        `json:"v,omitempty"`
	Histogram *jsonHistogram `json:"h,omitempty"`
}

type jsonSeries struct {
	Labels  map[string]string `json:"labels"`
	Samples []jsonSample      `json:"samples"`
}

func (s jsonSeries) column() sampleColumn {
	column := make(sampleColumn, 0, len(s.Samples))
	for _, one := range s.Samples {
		if one.Histogram != nil {
			column = append(column, sample{t: one.Time, fh: one.Histogram.histogram()})
		} else {
			column = append(column, sample{t: one.Time, f: float64(*one.Value)})
		}
	}
	return column
}

type request struct {
	Clear    bool         `json:"clear"`
	Load     []jsonSeries `json:"load"`
	Query    *string      `json:"query"`
	Parse    *string      `json:"parse"`
	Pin      *string      `json:"pin"`
	Start    int64        `json:"start"`
	End      int64        `json:"end"`
	Step     int64        `json:"step"`
	Lookback int64        `json:"lookback"`
}

type answer struct {
	Kind     string       `json:"kind,omitempty"`
	Series   []jsonSeries `json:"series"`
	Text     string       `json:"text,omitempty"`
	Pretty   string       `json:"pretty,omitempty"`
	Warnings []string     `json:"warnings"`
	Infos    []string     `json:"infos"`
	Error    string       `json:"error,omitempty"`
	Refused  bool         `json:"refused,omitempty"` // the error came before anything was evaluated
}

// Answers. --------------------------------------------------------------------------------------------------------

func prepared(engine *promql.Engine, samples store, asked request) (promql.Query, error) {
	options := promql.NewPrometheusQueryOpts(false, time.Duration(asked.Lookback)*time.Millisecond)
	start, end := time.UnixMilli(asked.Start), time.UnixMilli(asked.End)
	if asked.Step == 0 {
		return engine.NewInstantQuery(context.Background(), samples, options, *asked.Query, start)
	}
	step := time.Duration(asked.Step) * time.Millisecond
	return engine.NewRangeQuery(context.Background(), samples, options, *asked.Query, start, end, step)
}

func evaluated(engine *promql.Engine, samples store, asked request) answer {
	query, err := prepared(engine, samples, asked)
	if err != nil {
		return answer{Error: err.Error(), Refused: true}
	}
	defer query.Close()
	result := query.Exec(context.Background())
	if result.Err != nil {
		return answer{Error: result.Err.Error()}
	}
	given := answer{Kind: string(result.Value.Type())}
	given.Warnings, given.Infos = result.Warnings.AsStrings(*asked.Query, 0, 0)
	sort.Strings(given.Warnings)
	sort.Strings(given.Infos)
	switch found := result.Value.(type) {
	case promql.Scalar:
		given.Series = []jsonSeries{{Samples: []jsonSample{floatAt(found.T, found.V)}}}
	case promql.String:
		given.Text = found.V
	case promql.Vector:
		for _, one := range found {
			given.Series = append(given.Series, jsonSeries{one.Metric.Map(), []jsonSample{sampleOf(one)}})
		}
	case promql.Matrix:
		for _, one := range found {
			given.Series = append(given.Series, jsonSeries{one.Metric.Map(), samplesOf(one)})
		}
	}
	return given
}

func floatAt(t int64, f float64) jsonSample {
	written := number(f)
	return jsonSample{Time: t, Value: &written}
}

func sampleOf(one promql.Sample) jsonSample {
	if one.H != nil {
		return jsonSample{Time: one.T, Histogram: histogramOf(one.H)}
	}
	return floatAt(one.T, one.F)
}

func samplesOf(one promql.Series) []jsonSample {
	var found []jsonSample
	for _, point := range one.Floats {
		found = append(found, floatAt(point.T, point.F))
	}
	for _, point := range one.Histograms {
		found = append(found, jsonSample{Time: point.T, Histogram: histogramOf(point.H)})
	}
	return found
}

func parsed(text string) answer {
	expression, err := parser.NewParser(parserOptions).ParseExpr(text)
	if err != nil {
		return answer{Error: err.Error(), Refused: true}
	}
	return answer{Kind: string(expression.Type()), Text: expression.String(), Pretty: parser.Prettify(expression)}
}

// Every selector and subquery gets an `@`, so that the expression has the same value at any time. None for expressions
// that ask for the time themselves. Source: promqltest, atModifierTestCases.
func pinned(text string, time int64) answer {
	expression, err := parser.NewParser(parserOptions).ParseExpr(text)
	if err != nil {
		return answer{Error: err.Error(), Refused: true}
	}
	asksForTime := false
	parser.Inspect(expression, func(node parser.Node, path []parser.Node) error {
		for _, above := range path {
			if subquery, is := above.(*parser.SubqueryExpr); is && subquery.Timestamp != nil {
				return nil
			}
		}
		switch one := node.(type) {
		case *parser.VectorSelector:
			one.Timestamp = pin(one.Timestamp, time)
		case *parser.SubqueryExpr:
			one.Timestamp = pin(one.Timestamp, time)
		case *parser.Call:
			if _, unsafe := promql.AtModifierUnsafeFunctions[one.Func.Name]; unsafe {
				asksForTime = true
			}
		}
		return nil
	})
	if asksForTime {
		return answer{}
	}
	return answer{Text: expression.String()}
}

func pin(timestamp *int64, time int64) *int64 {
	if timestamp != nil {
		return timestamp
	}
	return &time
}

func answered(engine *promql.Engine, samples store, asked request) answer {
	if asked.Clear {
		clear(samples)
	}
	for _, one := range asked.Load {
		samples.add(labels.FromMap(one.Labels), one.column())
	}
	switch {
	case asked.Query != nil:
		return evaluated(engine, samples, asked)
	case asked.Parse != nil:
		return parsed(*asked.Parse)
	case asked.Pin != nil:
		return pinned(*asked.Pin, asked.Start)
	}
	return answer{}
}

func main() {
	engine := newEngine(len(os.Args) > 1 && os.Args[1] == "--delayed-name-removal")
	samples := store{}
	lines, answers := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked request
		given := answer{}
		if err := json.Unmarshal(line, &asked); err != nil {
			given = answer{Error: "not understood: " + err.Error()}
		} else {
			given = answered(engine, samples, asked)
		}
		text, err := json.Marshal(given)
		if err != nil {
			panic(err)
		}
		answers.Write(append(text, '\n'))
		answers.Flush()
	}
}

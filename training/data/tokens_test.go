package data

// referenceTokens are what transformers.GPT2Tokenizer makes of strings that
// tokenizers stumble over.
var referenceTokens = []struct {
	text   string
	tokens []int64
}{
	{"Hello world", []int64{15496, 995}},
	{"  leading spaces", []int64{220, 3756, 9029}},
	{"I'm you're we'll they've he'd", []int64{40, 1101, 345, 821, 356, 1183, 484, 1053, 339, 1549}},
	{"tabs\u0009and\u000anewlines\u000a\u000a  x", []int64{8658, 82, 197, 392, 198, 3605, 6615, 628, 220, 2124}},
	{"na\u00efve caf\u00e9 \u2014 \u201cquotes\u201d", []int64{2616, 38776, 40304, 851, 564, 250, 421, 6421, 447, 251}},
	{"\u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8", []int64{33768, 98, 17312, 105, 45739, 252, 24336, 25084, 43302}},
	{"emoji \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f680", []int64{368, 31370, 50169, 102, 447, 235, 41840, 102, 447, 235, 41840, 100, 12520, 248, 222}},
	{"123456 3.14 1,000", []int64{10163, 29228, 513, 13, 1415, 352, 11, 830}},
	{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", []int64{24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794}},
	{"   ", []int64{220, 220, 220}},
	{"\u00a0nbsp", []int64{1849, 77, 24145}},
	{"mixed123abc!!??", []int64{76, 2966, 10163, 39305, 3228, 3548}},
	{"l'\u00e9t\u00e9 'tis 'S", []int64{75, 6, 25125, 2634, 705, 48010, 705, 50}},
	{"\u000d\u000a\u000d\u000a", []int64{201, 198, 201, 198}},
	{"\u00dcn\u00efc\u00f8d\u00e9 \ufdfd", []int64{127, 250, 77, 26884, 66, 24172, 67, 2634, 27332, 115, 121}},
	{"x\u200by", []int64{87, 9525, 88}},
	{"\u0000\u0001", []int64{188, 189}},
}

package pages

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// No two series of a chart look the same, and the style has each tone.
func TestTonesDiffer(t *testing.T) {
	t.Parallel()
	style := readStyle(t)
	for _, series := range [][][2]string{deliveryResults(), attemptOutcomes()} {
		names := map[string]string{}
		for _, s := range series {
			if other := names[s[1]]; other != "" {
				t.Errorf("%s and %s have the tone %s", other, s[0], s[1])
			}
			names[s[1]] = s[0]
			for word := range strings.FieldsSeq(s[1]) {
				if !strings.Contains(style, ".chart ."+word+" {") && !strings.Contains(style, ".chart rect."+word+" {") {
					t.Errorf("the style has no tone %s", word)
				}
			}
		}
	}
}

// The contrast of each tone with a card is at least 3 to 1 in both themes, as WCAG 2.2
// asks for graphical objects.
func TestToneContrast(t *testing.T) {
	t.Parallel()
	colors := regexp.MustCompile(`--(surface|tone): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)`).FindAllStringSubmatch(readStyle(t), -1)
	if len(colors) != 7 || colors[0][1] != "surface" {
		t.Fatalf("the style has these colors: %v", colors)
	}
	for _, tone := range colors[1:] {
		for theme := 2; theme < 4; theme++ {
			if c := contrast(luminance(t, tone[theme]), luminance(t, colors[0][theme])); c < 3 {
				t.Errorf("#%s has a contrast of %.2f", tone[theme], c)
			}
		}
	}
}

func readStyle(t *testing.T) string {
	t.Helper()
	style, err := os.ReadFile("../assets/app.css")
	if err != nil {
		t.Fatal(err)
	}
	return string(style)
}

// luminance is the relative luminance of WCAG.
func luminance(t *testing.T, hex string) (l float64) {
	t.Helper()
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			l += weight * c / 12.92
		} else {
			l += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return l
}

func contrast(a, b float64) float64 { return (max(a, b) + 0.05) / (min(a, b) + 0.05) }

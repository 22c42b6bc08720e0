package errorpage

import (
	"fmt"
	"math"
)

// The backgrounds of the built-in page. What is written on them or filled with
// the accent keeps a contrast of minContrast to them (WCAG 2.2, 1.4.3 AA).
const (
	lightGround = "#fbfaf8"
	darkGround  = "#16181c"
	minContrast = 4.5

	defaultColor = "#3e63b0"
)

// rgb is a colour in sRGB, each channel from 0 to 255.
type rgb [3]uint8

// parseColor reads #rgb or #rrggbb (CSS Color 4, section 5.2).
func parseColor(s string) (c rgb, ok bool) {
	if len(s) != 4 && len(s) != 7 || s[0] != '#' {
		return c, false
	}
	for i := 1; i < len(s); i++ {
		if !isHex(s[i]) {
			return c, false
		}
	}
	for i := range c {
		if len(s) == 4 {
			c[i] = nibble(s[1+i]) * 0x11
		} else {
			c[i] = nibble(s[1+2*i])<<4 | nibble(s[2+2*i])
		}
	}
	return c, true
}

func nibble(b byte) uint8 {
	if b <= '9' {
		return b - '0'
	}
	return b | 0x20 - 'a' + 10
}

func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// luminance is relative to white (WCAG 2.2, glossary).
func (c rgb) luminance() float64 {
	var linear [3]float64
	for i, v := range c {
		s := float64(v) / 255
		if s <= 0.04045 {
			linear[i] = s / 12.92
		} else {
			linear[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}

// contrast is the ratio of two colours, from 1 to 21 (WCAG 2.2, glossary).
func contrast(a, b rgb) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// readable returns c, or the colour nearest to it on the way to black or white,
// whichever is farther from ground, that can be read on ground.
func (c rgb) readable(ground rgb) rgb {
	const steps = 64
	toward := 0.0
	if ground.luminance() < 0.18 {
		toward = 255
	}
	adapted := c
	for i := 1; i <= steps && contrast(adapted, ground) < minContrast; i++ {
		part := float64(i) / steps
		for j, v := range c {
			adapted[j] = uint8(math.Round(float64(v) + (toward-float64(v))*part))
		}
	}
	return adapted
}

// accents returns the accent of the light and of the dark page.
func accents(color string) (light, dark rgb, err error) {
	if color == "" {
		color = defaultColor
	}
	c, ok := parseColor(color)
	if !ok {
		return light, dark, fmt.Errorf("errorpage: Config.Color is %q: must be #rgb or #rrggbb in hexadecimal digits", color)
	}
	lightBg, _ := parseColor(lightGround)
	darkBg, _ := parseColor(darkGround)
	return c.readable(lightBg), c.readable(darkBg), nil
}

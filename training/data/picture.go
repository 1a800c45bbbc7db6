package data

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // formats that image.Decode knows
	_ "image/png"

	"golang.org/x/image/draw"
)

// frame is the shape to which the pictures of a set are brought.
type frame struct{ channels, height, width int }

func (f frame) size() int { return f.channels * f.height * f.width }

// maxPixels caps what the header of a picture may announce.
const maxPixels = 1 << 28

// frameOf is the shape of a picture as it is: one channel where it is grey, else
// three, and the given size where that is not zero.
func frameOf(file []byte, side [2]int) (frame, error) {
	c, _, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return frame{}, pictureError(file, err)
	}
	f := frame{3, c.Height, c.Width}
	if c.ColorModel == color.GrayModel || c.ColorModel == color.Gray16Model {
		f.channels = 1
	}
	if side != [2]int{} {
		f.height, f.width = side[0], side[1]
	}
	return f, nil
}

func pictureError(file []byte, err error) error {
	if errors.Is(err, image.ErrFormat) {
		return fmt.Errorf("no JPEG or PNG: its %d bytes begin with % x", len(file), file[:min(len(file), 4)])
	}
	return truncation(err)
}

// decode turns a JPEG or PNG into planes [channels, height, width]. A picture of
// another size is an error unless resize is set: then it is scaled until it
// covers the frame, and its middle is taken. A grey picture fills all channels;
// transparency is left out.
func (f frame) decode(file []byte, resize bool, out []byte) error {
	c, _, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return pictureError(file, err)
	}
	if c.Width*c.Height > maxPixels {
		return fmt.Errorf("%dx%d pixels are more than %d", c.Width, c.Height, maxPixels)
	}
	img, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return pictureError(file, err)
	}
	if b := img.Bounds(); b.Dx() != f.width || b.Dy() != f.height {
		if !resize {
			return fmt.Errorf("%dx%d pixels, expected %dx%d; --image-size brings all pictures to one size", b.Dx(), b.Dy(), f.width, f.height)
		}
		img = f.resized(img)
	}
	return f.planes(img, out)
}

// resized is the middle of a picture, scaled so that it fills the frame.
func (f frame) resized(img image.Image) image.Image {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	if w*f.height > h*f.width {
		w = max(1, h*f.width/f.height)
	} else {
		h = max(1, w*f.height/f.width)
	}
	x, y := b.Min.X+(b.Dx()-w)/2, b.Min.Y+(b.Dy()-h)/2
	size := image.Rect(0, 0, f.width, f.height)
	var to draw.Image = image.NewNRGBA(size)
	if isGrey(img) {
		to = image.NewGray(size)
	}
	draw.BiLinear.Scale(to, size, img, image.Rect(x, y, x+w, y+h), draw.Src, nil)
	return to
}

func isGrey(img image.Image) bool {
	m := img.ColorModel()
	return m == color.GrayModel || m == color.Gray16Model
}

// planes writes a picture of the frame's size.
func (f frame) planes(img image.Image, out []byte) error {
	if f.channels == 1 && !isGrey(img) {
		return errors.New("a picture in colour among grey ones (the first one decides)")
	}
	b := img.Bounds()
	plane := f.height * f.width
	at := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			red, green, blue := rgb(img, x, y)
			out[at] = red
			if f.channels == 3 {
				out[plane+at], out[2*plane+at] = green, blue
			}
			at++
		}
	}
	return nil
}

// rgb is the colour of a pixel without its transparency. The types that the
// decoders return most are spared the detour over an interface.
func rgb(img image.Image, x, y int) (r, g, b byte) {
	switch img := img.(type) {
	case *image.Gray:
		v := img.GrayAt(x, y).Y
		return v, v, v
	case *image.YCbCr:
		c := img.YCbCrAt(x, y)
		return color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
	case *image.NRGBA:
		c := img.NRGBAAt(x, y)
		return c.R, c.G, c.B
	}
	c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
	return c.R, c.G, c.B
}

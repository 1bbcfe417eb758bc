package datasets

import "encoding/binary"

// mp4 is a video file of JPEG pictures (Motion JPEG): boxes of the ISO base media format
// (ISO/IEC 14496-12), with the JPEG object type of MPEG-4 Systems that players and
// decoders read.
func mp4(width, height, perSecond int, frames [][]byte) []byte {
	u8 := func(v ...byte) []byte { return v }
	u16 := func(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
	u32 := func(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	box := func(name string, parts ...[]byte) []byte {
		body := join(parts...)
		return join(u32(8+len(body)), []byte(name), body)
	}
	zeros := func(n int) []byte { return make([]byte, n) }
	matrix := join(u32(1<<16), zeros(12), u32(1<<16), zeros(12), u32(1<<30))

	head := box("ftyp", []byte("isom"), u32(512), []byte("isomiso2mp41"))
	sizes, data := u32(len(frames)), []byte(nil)
	for _, f := range frames {
		sizes = append(sizes, u32(len(f))...)
		data = append(data, f...)
	}
	media := box("mdat", data)

	// A descriptor of MPEG-4 Systems: tag, length, body.
	descriptor := func(tag byte, parts ...[]byte) []byte {
		body := join(parts...)
		return join(u8(tag, 0x80, 0x80, 0x80, byte(len(body))), body)
	}
	const jpegObject, visualStream = 0x6c, 0x04<<2 | 1
	esds := box("esds", u32(0), descriptor(3, u16(1), u8(0),
		descriptor(4, u8(jpegObject, visualStream), zeros(3), u32(0), u32(0)),
		descriptor(6, u8(2))))
	entry := box("mp4v", zeros(6), u16(1), zeros(16), u16(width), u16(height),
		u32(72<<16), u32(72<<16), zeros(4), u16(1), zeros(32), u16(24), u16(0xffff), esds)

	duration := len(frames) // in units of one frame
	table := box("stbl",
		box("stsd", u32(0), u32(1), entry),
		box("stts", u32(0), u32(1), u32(len(frames)), u32(1)),
		box("stsc", u32(0), u32(1), u32(1), u32(len(frames)), u32(1)),
		box("stsz", u32(0), u32(0), sizes),
		box("stco", u32(0), u32(1), u32(len(head)+8)),
	)
	track := box("trak",
		box("tkhd", u32(3), zeros(8), u32(1), zeros(4), u32(duration), zeros(8), zeros(8), matrix, u32(width<<16), u32(height<<16)),
		box("mdia",
			box("mdhd", u32(0), zeros(8), u32(perSecond), u32(duration), u16(0x55c4), u16(0)),
			box("hdlr", u32(0), zeros(4), []byte("vide"), zeros(12), []byte("video\x00")),
			box("minf",
				box("vmhd", u32(1), zeros(8)),
				box("dinf", box("dref", u32(0), u32(1), box("url ", u32(1)))),
				table)),
	)
	movie := box("moov",
		box("mvhd", u32(0), zeros(8), u32(perSecond), u32(duration), u32(1<<16), u16(0x100), zeros(10), matrix, zeros(24), u32(2)),
		track)
	return join(head, media, movie)
}

package breakdown

import "strconv"

// deviceTypes are torch's numbers of kinds of device.
var deviceTypes = map[int64]string{0: "cpu", 1: "cuda", 6: "hip", 12: "xpu", 15: "hpu"}

// memoryFigures reports the allocator's use.
func (a *analysis) memoryFigures() {
	for i, c := range a.files {
		for key, m := range c.memory {
			name := deviceTypes[key.typ]
			if name == "" {
				name = "type" + strconv.FormatInt(key.typ, 10)
			}
			if key.typ != 0 {
				name += ":" + strconv.FormatInt(key.id, 10)
			}
			if a.several() {
				name = a.files[i].meta.Name + "/" + name
			}
			out := Memory{Peak: m.peak, ReservedPeak: m.reservedPeak, Start: m.first, End: m.last, Allocations: m.allocations, Frees: m.frees, Allocated: m.allocBytes}
			if w, _, ok := c.fileWindow(); ok && w.to > w.from {
				out.PerSecond = ptr(round(float64(m.allocations)/float64(w.to-w.from)*1e9, 3))
			}
			if a.report.Memory == nil {
				a.report.Memory = map[string]Memory{}
			}
			a.report.Memory[name] = out
		}
		if len(c.memory) > 0 && a.clip {
			a.warn("memory figures are those of the whole file, not of the window")
		}
	}
}

package breakdown

// sortRuns sorts s in place and keeps the order of equal elements. Profilers write rows in
// long stretches that are already in order; the sort finds these and merges them, so that
// nearly sorted rows cost little more than one look at each.
func sortRuns[T any](s []T, less func(a, b *T) bool) {
	if len(s) < 2 {
		return
	}
	// bounds are where runs begin, and the end.
	bounds := []int{0}
	for i := 1; i < len(s); {
		if !less(&s[i], &s[i-1]) {
			i++
			continue
		}
		// Short runs are not worth a merge of their own: grow them by insertion.
		begin := bounds[len(bounds)-1]
		if i-begin < 24 {
			j := i
			for j > begin && less(&s[j], &s[j-1]) {
				s[j], s[j-1] = s[j-1], s[j]
				j--
			}
			i++
			continue
		}
		bounds = append(bounds, i)
		i++
	}
	bounds = append(bounds, len(s))
	if len(bounds) == 2 {
		return
	}
	src, dst := s, make([]T, len(s))
	for len(bounds) > 2 {
		next := []int{0}
		i := 0
		for ; i+2 < len(bounds); i += 2 {
			merge(dst[bounds[i]:bounds[i+2]], src[bounds[i]:bounds[i+1]], src[bounds[i+1]:bounds[i+2]], less)
			next = append(next, bounds[i+2])
		}
		if i+1 < len(bounds) {
			copy(dst[bounds[i]:bounds[i+1]], src[bounds[i]:bounds[i+1]])
			next = append(next, bounds[i+1])
		}
		src, dst = dst, src
		bounds = next
	}
	if &src[0] != &s[0] {
		copy(s, src)
	}
}

func merge[T any](out, a, b []T, less func(a, b *T) bool) {
	if len(a) > 0 && len(b) > 0 && !less(&b[0], &a[len(a)-1]) {
		copy(out, a)
		copy(out[len(a):], b)
		return
	}
	for i := range out {
		switch {
		case len(a) == 0:
			copy(out[i:], b)
			return
		case len(b) == 0:
			copy(out[i:], a)
			return
		case less(&b[0], &a[0]):
			out[i], b = b[0], b[1:]
		default:
			out[i], a = a[0], a[1:]
		}
	}
}

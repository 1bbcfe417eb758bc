package datasets

// OnPixels lets a test see the pixels of every item. With one worker they come in order.
func (r *RandomMM) OnPixels(f func(b Bucket, rgb []byte)) { r.pixels = f }

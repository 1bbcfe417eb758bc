package wire

// kernelStamps says that this system stamps TCP.
const kernelStamps = true

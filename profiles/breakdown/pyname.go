package breakdown

import "strings"

// pythonGroups are the file, the package and the module a Python row belongs to; empty
// where it belongs to none.
func pythonGroups(name string) (file, pkg, module string) {
	if class, ok := strings.CutPrefix(name, "nn.Module: "); ok {
		// A trailing number tells instances apart.
		if i := strings.LastIndexByte(class, '_'); i > 0 && strings.Trim(class[i+1:], "0123456789") == "" {
			class = class[:i]
		}
		return "", "", class
	}
	if strings.HasPrefix(name, "<built-in ") {
		return "<built-in>", "<built-in>", ""
	}
	i := strings.LastIndex(name, "): ")
	if i < 0 {
		return "", "", ""
	}
	open := strings.LastIndexByte(name[:i], '(')
	if open <= 0 {
		return "", "", ""
	}
	file = name[:open]
	path := file
	for _, mark := range []string{"site-packages/", "dist-packages/"} {
		if at := strings.LastIndex(path, mark); at >= 0 {
			path = path[at+len(mark):]
		}
	}
	path = strings.TrimLeft(path, "/")
	pkg, _, _ = strings.Cut(path, "/")
	return file, strings.TrimSuffix(pkg, ".py"), ""
}

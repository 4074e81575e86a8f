// Package docs holds the pages for operators and readers of the code. It has no
// code of its own: its tests compare the pages with the code, so that a list
// that has become wrong, an example that no longer parses and a link to nothing
// fail `make test`.
package docs

// Package ext stands in for a nested module that Traefik's module archive leaves out. Traefik's open
// source build has no extensions, so both types are empty.
package ext

// HTTP carries no extension of an HTTP configuration.
type HTTP struct{}

// DeepCopyInto copies nothing: there are no fields.
func (in *HTTP) DeepCopyInto(out *HTTP) {}

// Router carries no extension of a router.
type Router struct{}

// DeepCopyInto copies nothing: there are no fields.
func (in *Router) DeepCopyInto(out *Router) {}

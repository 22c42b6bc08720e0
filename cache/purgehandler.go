package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The bounds of one request to [Cache.PurgeHandler].
const (
	maxPurges    = 256
	maxPurgeBody = 1 << 20
)

// PurgeHandler is [Cache.Purge] over HTTP: POST with the parameters url, prefix,
// host, tag or all, and soft, in the query, in a form
// (application/x-www-form-urlencoded) or in an object in JSON:
//
//	curl -d url=https://example.com/news http://127.0.0.1:8081/purge
//	curl -d tag=news -d tag=sports -d soft=true http://127.0.0.1:8081/purge
//	curl -H 'Content-Type: application/json' -d '{"tag": ["news", "sports"], "soft": true}' http://127.0.0.1:8081/purge
//
// One kind may have several values, at most 256, all of which are purged or, if
// one of them is wrong, none. The answer is JSON: {"purged": 2, "kind": "tag",
// "soft": true}, where purged counts the values, not what was stored; or
// {"error": "..."} with 400 for what can't be understood, 405 for other methods,
// 413, 415, and 403 for what a page of another site makes a browser send.
//
// It asks nobody who they are. Mount it where only operators come.
func (c *Cache) PurgeHandler() http.Handler { return http.HandlerFunc(c.servePurge) }

func (c *Cache) servePurge(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answerJSON(w, http.StatusMethodNotAllowed, purgeAnswer{Error: "the method must be POST"})
		return
	}
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		answerJSON(w, http.StatusForbidden, purgeAnswer{Error: "the request comes from a page of another site"})
		return
	}
	values, status, err := purgeParameters(w, r)
	if err != nil {
		answerJSON(w, status, purgeAnswer{Error: err.Error()})
		return
	}
	purges, kind, err := purgesOf(values)
	if err == nil {
		for _, p := range purges { // all, before any is made
			if _, _, bad := c.purger(p); bad != nil {
				err = errors.Join(err, fmt.Errorf("the parameter %s: %w", kind, bad))
			}
		}
	}
	if err != nil {
		answerJSON(w, http.StatusBadRequest, purgeAnswer{Error: err.Error()})
		return
	}
	for _, p := range purges {
		_ = c.purge(r.Context(), p) // it was found right above
	}
	answerJSON(w, http.StatusOK, purgeAnswer{Purged: len(purges), Kind: kind, Soft: purges[0].Soft})
}

type purgeAnswer struct {
	Purged int    `json:"purged"`
	Kind   string `json:"kind,omitempty"`
	Soft   bool   `json:"soft"`
	Error  string `json:"error,omitempty"`
}

func answerJSON(w http.ResponseWriter, status int, v purgeAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if v.Error != "" {
		_ = json.NewEncoder(w).Encode(map[string]string{"error": v.Error})
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

// purgeParameters reads the parameters of the query and of the body. The status
// is for the error.
func purgeParameters(w http.ResponseWriter, r *http.Request) (url.Values, int, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, http.StatusBadRequest, errors.New("the query can't be parsed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPurgeBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", maxPurgeBody)
		}
		return nil, http.StatusBadRequest, errors.New("the body can't be read")
	}
	if len(body) == 0 {
		return values, 0, nil
	}
	var more url.Values
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/json":
		if more, err = jsonParameters(body); err != nil {
			return nil, http.StatusBadRequest, err
		}
	case "application/x-www-form-urlencoded":
		if more, err = url.ParseQuery(string(body)); err != nil {
			return nil, http.StatusBadRequest, errors.New("the form can't be parsed")
		}
	default:
		return nil, http.StatusUnsupportedMediaType, errors.New("the Content-Type of a body must be application/x-www-form-urlencoded or application/json")
	}
	for name, list := range more {
		values[name] = append(values[name], list...)
	}
	return values, 0, nil
}

// jsonParameters reads an object whose members are strings, lists of strings, or
// booleans.
func jsonParameters(body []byte) (url.Values, error) {
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, errors.New("the body must be an object in JSON")
	}
	values := make(url.Values)
	for name, member := range members {
		list, ok := member.([]any)
		if !ok {
			list = []any{member}
		}
		for _, one := range list {
			switch one := one.(type) {
			case string:
				values.Add(name, one)
			case bool:
				values.Add(name, strconv.FormatBool(one))
			default:
				return nil, fmt.Errorf("the parameter %.50q must be a string, a list of strings, or a boolean", name)
			}
		}
	}
	return values, nil
}

// purgesOf makes the purges that the parameters ask for, all of one kind.
func purgesOf(values url.Values) (purges []Purge, kind string, err error) {
	soft, err := boolParameter(values, "soft")
	if err != nil {
		return nil, "", err
	}
	all, err := boolParameter(values, "all")
	if err != nil {
		return nil, "", err
	}
	if !all {
		delete(values, "all")
	}
	delete(values, "soft")
	var kinds []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch name {
		case "url", "prefix", "host", "tag", "all":
			kinds = append(kinds, name)
		default:
			return nil, "", fmt.Errorf("the parameter %.50q is not known: url, prefix, host, tag, all and soft are", name)
		}
	}
	if len(kinds) != 1 {
		has := "no parameter"
		if len(kinds) > 0 {
			has = "the parameters " + strings.Join(kinds, " and ")
		}
		return nil, "", fmt.Errorf("the request has %s: must be one of url, prefix, host, tag and all", has)
	}
	kind = kinds[0]
	if len(values[kind]) > maxPurges {
		return nil, "", fmt.Errorf("the parameter %s has %d values: must have at most %d", kind, len(values[kind]), maxPurges)
	}
	for _, v := range values[kind] {
		p := Purge{Soft: soft}
		switch kind {
		case "url":
			p.URL = v
		case "prefix":
			p.Prefix = v
		case "host":
			p.Host = v
		case "tag":
			p.Tag = v
		default:
			p.All = true
		}
		if v == "" && kind != "all" {
			return nil, "", fmt.Errorf("the parameter %s is empty", kind)
		}
		purges = append(purges, p)
	}
	return purges, kind, nil
}

// boolParameter reads a parameter that is true where it is given without a
// value.
func boolParameter(values url.Values, name string) (bool, error) {
	list, ok := values[name]
	switch {
	case !ok:
		return false, nil
	case len(list) != 1:
		return false, fmt.Errorf("the parameter %s has %d values: must have one", name, len(list))
	case list[0] == "":
		return true, nil
	}
	v, err := strconv.ParseBool(list[0])
	if err != nil {
		return false, fmt.Errorf("the parameter %s is %.50q: must be true or false", name, list[0])
	}
	return v, nil
}

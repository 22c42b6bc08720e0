package cache

// StoreConfig is the size of a [Store].
type StoreConfig struct {
	// MemoryBytes is the size in bytes: 7/8 for entries, 1/8 for fills in
	// flight. 0 = 64 MiB; less than 64 KiB is an error.
	MemoryBytes int64
}

// StoreStats is a snapshot of a store's counters.
type StoreStats struct {
	// EntryBytes is what the entries cost now, EntryLimit what they may.
	EntryBytes, EntryLimit int64
	// FillBytes is what fills in flight hold now, FillLimit what they may.
	FillBytes, FillLimit int64
	// Evicted counts the entries that made room for others or expired.
	Evicted uint64
	// Rejected counts the responses that were not admitted.
	Rejected uint64
}

// Store holds the content of one or several caches.
type Store struct{ cfg StoreConfig }

// NewStore returns a store.
func NewStore(cfg StoreConfig) (*Store, error) {
	if err := checkMemory("StoreConfig", cfg.MemoryBytes); err != nil {
		return nil, err
	}
	return &Store{cfg: cfg}, nil
}

// Close gives the memory back.
func (s *Store) Close() {}

// Stats returns the counters as they are now.
func (s *Store) Stats() StoreStats { return StoreStats{EntryLimit: s.cfg.MemoryBytes} }

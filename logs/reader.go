package logs

import "context"

func readFile(ctx context.Context, src Source, o Options, fn func(Entry) error) error {
	return &UnsupportedError{src.Driver}
}

func readJournal(ctx context.Context, src Source, o Options, fn func(Entry) error) error {
	return &UnsupportedError{src.Driver}
}

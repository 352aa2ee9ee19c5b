package main

// verbs is every command, in the order in which help lists them.
func verbs() []*verb {
	return []*verb{
		runVerb(),
		createVerb(),
		startVerb(),
		stopVerb(),
		restartVerb(),
		killVerb(),
		rmVerb(),
		renameVerb(),
		psVerb(),
		inspectVerb(),
		logsVerb(),
		execVerb(),
		attachVerb(),
		waitVerb(),
		containerInspectVerb(),
		containerExistsVerb(),
		containerPruneVerb(),

		imagesVerb(),
		pullVerb(),
		rmiVerb(),
		tagVerb(),
		loadVerb(),
		saveVerb(),
		imageInspectVerb(),
		imageExistsVerb(),
		imagePruneVerb(),

		infoVerb(),
		versionVerb(),
		helpVerb(),
		completeVerb(),
	}
}

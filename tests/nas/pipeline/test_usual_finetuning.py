from nas.pipeline.usual_finetuning import usual_finetuning
from nas.training import load_recipe


def test_a_network_of_trained_weights_learns_from_labels_as_fast_as_its_supernet() -> None:
    recipe = load_recipe("adapt")
    usual = usual_finetuning({"recipe": recipe.as_dict()})
    assert (usual["learning_rate"], usual["label_weight"]) == (recipe.learning_rate, 1.0)
    assert (usual["trained_share"], usual["batch_size"]) == (recipe.trained_share, recipe.batch_size)
    assert usual["augmentation"] == recipe.augmentation


def test_a_network_trained_from_random_weights_learns_at_half_the_rate_with_a_teacher() -> None:
    recipe = load_recipe("ofa")
    usual = usual_finetuning({"recipe": recipe.as_dict()})
    assert usual["learning_rate"] == recipe.learning_rate / 2
    assert "label_weight" not in usual


def test_a_given_network_that_knew_the_classes_teaches() -> None:
    card = {"recipe": load_recipe("adapt").as_dict()}
    assert "label_weight" not in usual_finetuning(card, {"own_classifier": True})
    assert usual_finetuning(card, {"own_classifier": False}) == usual_finetuning(card)


def test_a_supernet_without_a_recipe_says_nothing() -> None:
    assert usual_finetuning({}) == {}


def test_what_a_training_started_from_is_read_from_its_card() -> None:
    recipe = load_recipe("bignas")
    started = usual_finetuning({"recipe": recipe.as_dict(), "starts_trained": True})
    assert (started["learning_rate"], started["label_weight"]) == (recipe.learning_rate, 1.0)
    assert (started["momentum"], started["nesterov"]) == (recipe.momentum, recipe.nesterov)
    anew = usual_finetuning({"recipe": load_recipe("adapt").as_dict(), "starts_trained": False})
    assert "label_weight" not in anew

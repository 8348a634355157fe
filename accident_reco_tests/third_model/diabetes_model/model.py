"""What the model is: name, task, settings. Imports neither a server nor a training library."""

from pydantic import Field

from accident_reco.contract import Model, ModelServing, ModelTraining, Task
from accident_reco.settings import Settings


class DiabetesSettings(Settings):
    """Diabetes model."""

    diabetes_source: str = Field("", description="CSV file of further patients; rows are only ever appended")
    diabetes_new_rows: int = Field(50, ge=1, description="New rows of that file after which the model is trained again")


class DiabetesModel(Model):
    """Progression of diabetes one year ahead: a regression, evaluated by its RMSE."""

    name = "diabetes"
    title = "Diabetes progression"
    description = "Progression of a patient's diabetes one year ahead, from five measurements."
    drift_question = "Do the patients differ from those that the champion was trained on?"
    task = Task("regression", "rmse", higher_is_better=False, headline=("rmse", "mae"))
    settings = DiabetesSettings

    def serving(self) -> ModelServing:
        from diabetes_model.serving import DiabetesServing

        return DiabetesServing()

    def training(self) -> ModelTraining:
        from diabetes_model.training import DiabetesTraining

        return DiabetesTraining()


MODEL = DiabetesModel()
